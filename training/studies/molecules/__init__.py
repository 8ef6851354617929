"""Properties of molecules whose bonds and elements condition the kernel: the QM9 experiment."""
