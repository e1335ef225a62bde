"""SynergyNet: the network, and the forms in which it leaves and enters a program."""

from __future__ import annotations

import os
from collections.abc import Sequence

from torch import Tensor, nn

from depthattn.layers.lateral_sharing import LateralSharingUnit
from depthattn.models.export import write_onnx
from depthattn.models.inference import folded
from depthattn.models.network import SynergyNetwork
from depthattn.models.pretrained import load, save


class SynergyNet(SynergyNetwork):
    """A network for monocular depth estimation and semantic segmentation in one.

    It has an encoder that both tasks share, a 1x1 convolution to half of its channels, and one decoder of
    up-projections per task. Lateral sharing units (LSU) exchange features between the decoders behind each
    up-projection but the last. A semi-dense up-skip (SUC) brings the input of a decoder and the output of every
    up-projection to its last level. A 3x3 head per task and a bilinear resize to the size of the image follow.

    Args:
        encoder: ``"resnet18"``, ``"resnet34"``, ``"resnet50"``, ``"efficientnet_lite0"`` (or 1, 2), ``"timm:NAME"``, or
            a module that returns feature maps, fine to coarse: a timm ``features_only`` model, a transformers backbone
            or your own.
        num_classes: number K of semantic classes.
        decoder_channels: output channels of each up-projection. The 1x1 convolution before them has half of the
            encoder's channels, and at most twice ``decoder_channels[0]``.
        sharing: gate of the lateral sharing units, one number per feature map (``"scalar"``) or one per channel
            (``"channel"``); None for decoders that do not share.
        up_skip: whether the decoders have a semi-dense up-skip.
        encoder_skips: whether the encoder's map of the same stride is added to the output of each up-projection, by a
            1x1 convolution and a batch norm, as in feature pyramid networks. The paper's network has none: its
            decoders see the coarsest map alone. With them edges are sharper, above all in small images.
        upsample_semantics: when the logits are resized to the size of the image: ``"always"``, or in ``"eval"`` mode
            only. In training mode they then have the size of the decoder, for
            ``SemanticFocalLoss(upsample="bilinear")``, which computes the same loss without full-size logits.
        output_stride: stride of the coarsest map of the encoder, where the decoders start: 32, or 16 or 8 with
            dilations in place of the last halvings, as in DeepLab. For the encoders of this library; the weights are
            the same.
        encoder_weights: file with the encoder's published weights, named as torchvision, timm and
            efficientnet-lite-pytorch name them, ``.pth`` (read with ``weights_only=True``) or ``.safetensors``;
            ``"auto"`` for the file that the extra ``pretrained`` installs (EfficientNet-Lite); None starts from random
            weights.

    Attributes:
        num_classes: number K of semantic classes.
        encoder: the :class:`~depthattn.models.Encoder`.
        sharing_units: a ``ModuleList`` of lateral sharing units (LSU), one behind each up-projection but the last.
        config: the arguments that build this model again, JSON-ready, without the weights; ``encoder`` is None
            where it was given as a module.
        class_names: a name for each class, as :meth:`save_pretrained` was given them; empty in a model that
            :meth:`from_pretrained` did not build.
        image_size: (H, W) of the images it was trained on, likewise; None in a model that :meth:`from_pretrained` did
            not build.

    Shape:
        Input (B, 3, H, W), RGB in [0, 1], H and W >= 32; the encoder's normalisation happens inside. Output
        :class:`~depthattn.models.SynergyOutput`.

    Raises:
        ValueError, TypeError: if an argument or the image does not fit.
        ImportError: if timm, or the package of ``encoder_weights="auto"``, is not installed.

    Source:
        Jiao et al., "Look Deeper into Depth: Monocular Depth Estimation with Semantic Booster and Attention-Driven
        Loss", ECCV 2018, doi 10.1007/978-3-030-01267-0_4. The 1x1 convolution and the depth head are choices of this
        library.

    Example:
        >>> import torch
        >>> from depthattn import SynergyNet
        >>> model = SynergyNet("resnet18", num_classes=13, decoder_channels=(32, 16, 16, 8))
        >>> depth, semantics = model.eval()(torch.rand(1, 3, 65, 97))
        >>> depth.shape, semantics.shape
        (torch.Size([1, 1, 65, 97]), torch.Size([1, 13, 65, 97]))
        >>> bool((depth > 0).all())
        True
    """

    def gates(self) -> dict[str, Tensor]:
        """The gates of all lateral sharing units by name, detached, for the log.

        Returns:
            Names such as ``sharing1/depth_from_semantics``, what the depth decoder takes from the semantic one in the
            first unit, to a scalar, or to (C,) for ``sharing="channel"``. Empty without sharing units, and for an
            :meth:`optimize_for_inference` copy.
        """
        tasks = {"0": "depth", "1": "semantics"}
        named = {}
        for index, unit in enumerate(self.sharing_units, start=1):
            for name, gate in unit.gates().items() if isinstance(unit, LateralSharingUnit) else ():
                to, source = name.split("_from_")
                named[f"sharing{index}/{tasks[to]}_from_{tasks[source]}"] = gate
        return named

    def optimize_for_inference(self) -> SynergyNet:
        r"""Make a faster copy for inference; this model does not change.

        Batch norms go into the convolutions before them, those of the transposed convolutions and of any encoder
        included, as :math:`w' = \gamma w / \sqrt{v + \epsilon}`; the gates of the sharing units go into the
        up-projections behind them, which leaves one addition per task, or none where a gate is 0; and the weights are
        channels last. Folding computes in float64. The copy cannot be trained, and its ``state_dict`` has other names:
        keep the original.

        Returns:
            The copy, in eval mode. Its outputs differ by rounding, by less than 1e-5 of the largest in float32.

        Warns:
            UserWarning: which batch norms of the encoder stay, because no convolution of a known kind comes right
                before them or because the encoder does not run on a 224x224 image.

        Example:
            >>> import torch
            >>> from depthattn import SynergyNet
            >>> model = SynergyNet("resnet18", num_classes=13, decoder_channels=(16, 8))
            >>> fast = model.optimize_for_inference()
            >>> any(isinstance(module, torch.nn.BatchNorm2d) for module in fast.modules())
            False
            >>> model.training
            True
        """
        return folded(self)

    def export_onnx(self, path: str | os.PathLike[str], *, size: tuple[int, int] | None = None) -> None:
        """Write the network as an ONNX file that needs neither this library nor PyTorch to run.

        The file holds the network as :meth:`optimize_for_inference` leaves it: input ``image``, (B, 3, H, W) RGB in
        [0, 1], outputs ``depth`` and ``semantics``, all float32. It appears complete or not at all.

        Args:
            path: the file; one that is there is replaced.
            size: (H, W) in pixels, for a file that takes this size only; None leaves height and width open, from 32
                up. The batch size is always open.

        Raises:
            ImportError: without onnx and onnxscript, which the extra ``onnx`` brings.
            ValueError: if ``size`` is below 32 pixels, if the model is not in float32, if torch.export cannot trace the
                encoder, or with PyTorch 2.6.
            OSError: if the file cannot be written.
        """
        write_onnx(self.optimize_for_inference(), path, size)

    def save_pretrained(
        self,
        folder: str | os.PathLike[str],
        *,
        class_names: Sequence[str] | None = None,
        image_size: tuple[int, int] | None = None,
        notes: str | None = None,
    ) -> None:
        """Write the model as a folder: ``config.json``, ``model.safetensors`` and a model card, ``README.md``.

        A new folder appears complete or not at all. In an existing folder each file is replaced as a whole, and other
        files stay, also a README.md that somebody wrote or edited. ``config.json`` holds the digest of the weights, so
        files that are damaged or of different saves do not load. A model hub takes the folder as it is.

        Args:
            folder: the folder to write; missing parents are created.
            class_names: a name for each class, which :meth:`from_pretrained` restores; None keeps those of the model.
            image_size: (H, W) of the images it was trained on, likewise.
            notes: Markdown for the model card: how the model was trained, and its scores.

        Raises:
            ImportError: without safetensors, which the extra ``hub`` brings.
            ValueError: if an argument does not fit, or the model is an :meth:`optimize_for_inference` copy.
            OSError: if a file cannot be written.

        Example:
            >>> import tempfile
            >>> from depthattn import SynergyNet
            >>> model = SynergyNet("resnet18", num_classes=2, decoder_channels=(8, 8))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     model.save_pretrained(folder, class_names=("floor", "wall"))
            ...     again = SynergyNet.from_pretrained(folder)
            >>> again.class_names, bool((again.neck[0].weight == model.neck[0].weight).all())
            (('floor', 'wall'), True)
        """
        save(self, folder, class_names, image_size, notes)

    @classmethod
    def from_pretrained(
        cls, source: str | os.PathLike[str], *, encoder: nn.Module | None = None, revision: str | None = None
    ) -> SynergyNet:
        """Load a model that :meth:`save_pretrained` wrote, on the CPU, in float32 and in eval mode.

        Nothing that is read is executed: the configuration is JSON of known keys, the weights are safetensors.

        Args:
            source: a folder; or, where there is no such folder, ``"owner/name"`` on the Hugging Face hub, which
                huggingface_hub downloads and keeps.
            encoder: a module like the encoder, with any weights, for a model whose encoder was passed as a module.
            revision: branch, tag or commit of a hub id; None takes its main branch.

        Raises:
            ImportError: without safetensors, or for a hub id huggingface_hub, which the extra ``hub`` brings.
            ValueError: if a file is missing, damaged or does not fit the other, or an argument does not fit.
            TypeError: if ``encoder`` is not a module.
        """
        return load(cls, source, encoder, revision)
