"""The service: a model for many clients, over HTTP and WebSockets."""

from symgnn.runtime.server.limits import Limits as Limits
from symgnn.runtime.server.running import serve as serve
