"""Makes the detector's ONNX file from published TensorFlow.js weights; nothing is trained."""
