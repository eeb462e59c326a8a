"""Evidence that a person can check: CAMs, plots, one HTML page.

The package is callable: ``clusterkit.audit(run)`` is `clusterkit.auditing.audit.audit`. It has to
be, because the public function and this package share a name, and importing any module of the
package would otherwise put the package in the function's place.
"""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any


class _Audit(ModuleType):
    def __call__(self, *args: Any, **kwargs: Any) -> Path:
        from clusterkit.auditing.audit import audit

        return audit(*args, **kwargs)


sys.modules[__name__].__class__ = _Audit
