"""What the model runs on: the device, the allocator, a side thread, seeds and effort."""
