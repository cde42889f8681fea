"""Bytes become a batch of arrays: batching, decoding, de-duplication, the watermark, encoding."""
