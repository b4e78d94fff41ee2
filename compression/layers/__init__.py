"""The layers that methods put in place of others: quantised rows, quantised dense layers, low rank, remapped rows.

A layer that stores something else than float weights is a leaf of its own: `is_leaf = True`, and
`stored_tensors()` lists exactly what the exported file will hold. Where plain torch operators would export
badly, the layer calls an operator of its own (`recpress::…`), which onnx_ops.py writes in ONNX.
"""
