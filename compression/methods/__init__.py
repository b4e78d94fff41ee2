"""The catalogue: importing this package registers every method. A new method adds one line here."""

from compression.methods import distill_ensemble as distill_ensemble
from compression.methods import distill_features as distill_features
from compression.methods import distill_logits as distill_logits
from compression.methods import distill_ranking as distill_ranking
from compression.methods import distill_self as distill_self
from compression.methods import embed_hash as embed_hash
from compression.methods import embed_mixed_precision as embed_mixed_precision
from compression.methods import embed_product_quantize as embed_product_quantize
from compression.methods import embed_prune_rows as embed_prune_rows
from compression.methods import embed_quantize_rows as embed_quantize_rows
from compression.methods import embed_reduce_dim as embed_reduce_dim
from compression.methods import factorize_activation_svd as factorize_activation_svd
from compression.methods import factorize_cross as factorize_cross
from compression.methods import factorize_svd as factorize_svd
from compression.methods import prune_channels as prune_channels
from compression.methods import prune_fields as prune_fields
from compression.methods import prune_magnitude as prune_magnitude
from compression.methods import quantize_dynamic as quantize_dynamic
from compression.methods import quantize_static as quantize_static
from compression.methods import share_kmeans as share_kmeans
from compression.methods import train_fine_tune as train_fine_tune
