"""The model's step in C++ for processors with AVX2, compiled at the first start for the processor at hand."""
