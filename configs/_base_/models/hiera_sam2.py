# UPerNet on SAM 2's Hiera, base_plus. Another size: name its checkpoint in `init_cfg` and its widths in the heads
# (tiny, small: 96 192 384 768; large: 144 288 576 1152); docs/mmseg.md has all parameters.
custom_imports = dict(imports=["voxlang.mmseg.hiera_sam2"], allow_failed_imports=False)
norm_cfg = dict(type="SyncBN", requires_grad=True)  # dict(type="BN") on a CPU or a single GPU
data_preprocessor = dict(
    type="SegDataPreProcessor",
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True,
    pad_val=0,
    seg_pad_val=255,
    size_divisor=32,  # Hiera takes sides that are multiples of 32
    test_cfg=dict(size_divisor=32),
)
model = dict(
    type="EncoderDecoder",
    data_preprocessor=data_preprocessor,
    pretrained=None,
    backbone=dict(
        type="HieraSAM2",
        img_size=1024,
        drop_path_rate=0.1,
        frozen_stages=-1,
        # init_cfg=dict(type="Pretrained", checkpoint="sam2.1_hiera_base_plus.pt"): as downloaded, or converted
    ),
    decode_head=dict(
        type="UPerHead",
        in_channels=[112, 224, 448, 896],
        in_index=[0, 1, 2, 3],
        pool_scales=(1, 2, 3, 6),
        channels=512,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type="FCNHead",
        in_channels=448,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=19,
        norm_cfg=norm_cfg,
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=0.4),
    ),
    train_cfg=dict(),
    test_cfg=dict(mode="whole"),
)
