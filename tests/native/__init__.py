"""The kernels without Python."""
