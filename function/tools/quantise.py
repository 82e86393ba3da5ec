"""Quantisation of the network to int8 activations and weights, with ranges calibrated on images."""

import logging
from collections.abc import Sequence
from pathlib import Path

import onnx
from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantFormat, QuantType, quantize_static

from function.images import Tensor
from function.tools.agreement import tensor


class Photographs(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    """The calibration images one at a time, pre-processed as in the server."""

    def __init__(self, paths: Sequence[Path], name: str) -> None:
        self._name = name
        self._images = (tensor(path, exact=False) for path in paths)

    def get_next(self) -> dict[str, Tensor] | None:
        image = next(self._images, None)
        return None if image is None else {self._name: image}


def quantise(onnx_file: Path, paths: Sequence[Path], out: Path) -> None:
    """Write the int8 network to out in the QDQ format, which both ONNX Runtime and OpenVINO run.

    Activations are unsigned and weights signed, with one scale per channel, because VNNI multiplies these types: an
    inference takes 8 ms, and took 27 ms with unsigned weights. Calibration by minimum and maximum agreed with float32
    as well as percentiles and entropy did. Leaving any single layer in float32 gained nothing, since all layers
    contribute to the error alike.
    """
    logging.disable(logging.WARNING)  # it recommends a pre-processing step that the exporter has already done
    try:
        quantize_static(
            str(onnx_file),
            str(out),
            Photographs(paths, input_name(onnx_file)),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
    finally:
        logging.disable(logging.NOTSET)


def input_name(onnx_file: Path) -> str:
    """Return the name of the network's single input."""
    graph = onnx.load(str(onnx_file), load_external_data=False).graph
    return str(graph.input[0].name)
