# UPerHead, with FCNHead beside it as usual, on the trunk of the embedded micro SAM 2.
_base_ = ["../_base_/models/hiera_sam2.py", "../_base_/datasets/phantom_levels.py", "../_base_/schedules/short.py"]
custom_imports = dict(imports=["voxlang.mmseg.hiera_sam2", "voxlang.mmseg.phantom_levels"], allow_failed_imports=False)
norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    backbone=dict(
        img_size=256,
        drop_path_rate=0.0,
        init_cfg=dict(type="Pretrained", checkpoint="checkpoints/voxlang_sam2_micro.safetensors"),
    ),
    decode_head=dict(in_channels=[32, 64, 128, 256], channels=64, num_classes=4, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=128, channels=32, num_classes=4, norm_cfg=norm_cfg),
)
