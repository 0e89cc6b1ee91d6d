"""What the steps from cloud to message cost, and what the paper's own way would cost on the same machine."""
