"""The Open Inference Protocol, version 2, as KServe has it, with the extension for binary tensors."""
