"""The device model's signatures as the manifest states them."""

from typing import TYPE_CHECKING, Any

from contracts.bundle import Signature, TensorSpec

if TYPE_CHECKING:
    from compression.device_model import DeviceModel


def manifest_signatures(model: "DeviceModel") -> dict[str, Signature]:
    """Names, dtypes and shapes of recommend, train, get_weights and set_weights, read from the traced functions."""
    return {
        name: Signature(
            inputs=tuple(_spec(spec.name, spec) for spec in function.structured_input_signature[0]),
            outputs=tuple(_spec(output, tensor) for output, tensor in function.structured_outputs.items()),
        )
        for name, function in model.signatures().items()
    }


def _spec(name: str, tensor: Any) -> TensorSpec:
    return TensorSpec(name, tensor.dtype.name, tuple(tensor.shape.as_list()))
