"""Ways to run segments beside torch eager: a hand-written kernel and ONNX Runtime, and the choice between them."""
