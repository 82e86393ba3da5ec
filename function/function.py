"""Makes this folder the package `function` where it is itself the root of a build, as for a buildpack or `func`.

There `import function` finds this file, and its __path__ lets the modules beside it be found as function.app and so on.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parent)]
