"""Small decoders of the Llama family on finished texts: few operations, and a gradient by hand."""
