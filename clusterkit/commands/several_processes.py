"""Which of several processes says why a command ended: one line, and not one from each."""

import time

from clusterkit.commands.exit_codes import exit_code_of
from clusterkit.errors import ClusterkitError, OthersError, RankError
from clusterkit.launched import Launched, launched

# Seconds in which a launcher ends the others where the process that leads failed as they did.
_LEADER_FIRST = 5.0


def may_speak(error: BaseException) -> bool:
    """Whether this process has to say why the command ended.

    A process that fails before it meets the others, by an option or a settings file, fails most
    often as the one that leads does: that one's word is waited for, and the launcher then ends this
    process.
    """
    try:
        own = launched()
    except ClusterkitError:
        own = Launched()
    if isinstance(error, OthersError):
        return False
    if not own.follows or isinstance(error, RankError):
        return True
    if exit_code_of(error) in (130, 143):
        return False
    time.sleep(_LEADER_FIRST)
    from clusterkit.training.process_group import ProcessGroup

    return ProcessGroup(own).has_the_word()
