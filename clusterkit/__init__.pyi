# What type checkers see of `clusterkit/__init__.py`, which imports each name when it is first used.
from clusterkit.auditing.audit import audit as audit
from clusterkit.auditing.evidence_pictures import evidence as evidence
from clusterkit.certifying.certify import certify as certify
from clusterkit.certifying.verify import verify as verify
from clusterkit.config import Config as Config
from clusterkit.config import load_config as load_config
from clusterkit.data.manifest import read_manifest as read_manifest
from clusterkit.errors import ClusterkitError as ClusterkitError
from clusterkit.exporting.export import export as export
from clusterkit.formats.assignments import read_assignments as read_assignments
from clusterkit.formats.run import Run as Run
from clusterkit.inference.assign import assign as assign
from clusterkit.inference.embed import embed as embed
from clusterkit.inspection.inspect import inspect as inspect
from clusterkit.retrieval.finder import SimilarityFinder as SimilarityFinder
from clusterkit.retrieval.finder import similar as similar
from clusterkit.retrieval.groups import similar_groups as similar_groups
from clusterkit.reviewing import review as review
from clusterkit.training.fit import fit as fit

__version__: str
__all__: list[str]
_EXPORTS: dict[str, str]
