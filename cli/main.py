"""Entry point of the command line: a request from the arguments, and an exit code from its outcome.

Every setting of the mode is an option made from the settings class, a key of the YAML file given with --config, and
inside the videos read with --from; options win over the file, and the file over the video. A user's mistake is one
line on the error output and exit code 2; Ctrl-C ends the job within a step, with exit code 130 and no file.
"""

import sys
from collections.abc import Sequence

from cli.compare import compare, read_compare_request
from cli.generate import generate_video
from cli.options import read_request
from cli.terminal import write_remark
from errors import Cancelled, UserError


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate one video, or compare engines where the first argument is "compare"; return the exit code."""
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if given[:1] == ["compare"]:
            compare(read_compare_request(given[1:]))
        else:
            generate_video(read_request(given))
    except UserError as error:
        write_remark(f"error: {error}")
        return 2
    except (Cancelled, KeyboardInterrupt) as error:
        write_remark(str(error) or "cancelled, nothing was written")
        return 130
    return 0
