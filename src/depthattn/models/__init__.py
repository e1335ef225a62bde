"""SynergyNet and its encoders."""

from depthattn.models.efficientnet_lite import EfficientNetLite
from depthattn.models.encoders import Encoder, ModuleEncoder
from depthattn.models.network import SynergyOutput
from depthattn.models.resnet import ResNet
from depthattn.models.synergynet import SynergyNet

__all__ = ["EfficientNetLite", "Encoder", "ModuleEncoder", "ResNet", "SynergyNet", "SynergyOutput"]
