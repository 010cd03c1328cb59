# FCNHead alone, on the second stage (stride 8) of the trunk of the embedded micro SAM 2.
_base_ = ["./upernet_micro_phantoms.py"]
model = dict(
    decode_head=dict(
        _delete_=True,
        type="FCNHead",
        in_channels=64,
        in_index=1,
        channels=64,
        num_convs=2,
        concat_input=True,
        dropout_ratio=0.1,
        num_classes=4,
        norm_cfg=dict(type="BN", requires_grad=True),
        align_corners=False,
        loss_decode=dict(type="CrossEntropyLoss", use_sigmoid=False, loss_weight=1.0),
    ),
    auxiliary_head=None,
)
