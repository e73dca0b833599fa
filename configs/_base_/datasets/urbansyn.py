"""UrbanSyn: 7,539 synthetic images, 2048x1024. Its labels are trainIds; nothing is converted."""

# Without a pipeline: the training crop belongs to the setting.
urbansyn_train = dict(type="UrbanSynDataset", domain="all", data_root="data/urbansyn/")
