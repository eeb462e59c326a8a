"""Do the CAMs of a run tell the truth? What can be measured, with and without known places."""

from clusterkit.auditing.checks.cam_checks import CamChecks
from clusterkit.auditing.checks.places import places_of
from clusterkit.auditing.checks.report import check_cams

__all__ = ["CamChecks", "check_cams", "places_of"]
