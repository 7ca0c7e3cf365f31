"""Variables of any Flax module, biases included, in the precision of the test."""

import flax.linen as nn
import jax
import jax.numpy as jnp


def initial_shapes(module: nn.Module, shape: tuple[int, ...], **options):
    """Of the variables for images of this shape. Nothing is computed."""
    with jax.enable_x64(False):  # modules create their parameters in 32 bits
        init = lambda images: module.init(jax.random.key(0), images, **options)
        return jax.eval_shape(init, jax.ShapeDtypeStruct(shape, "float32"))


def widened(tree):
    """The tree with its floats in the precision of the test."""
    return jax.tree.map(lambda leaf: leaf.astype(float) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf, tree)


def random_variables(module: nn.Module, images: jax.Array, draw, **options):
    return jax.tree.map(lambda leaf: 0.3 * draw.normal(*leaf.shape), initial_shapes(module, images.shape, **options))
