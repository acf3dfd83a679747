"""The engine: backpropagation from scratch, data, training and jobs. It knows no HTTP."""
