"""Floor 2: ONNX Runtime and LiteRT behind the face of ``engine.Population``; imported only when needed."""
