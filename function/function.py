"""Make this folder importable as the package `function` when it is the root of a build, as with a buildpack or `func`.

In such a build `import function` finds this file, and __path__ lets Python find the modules beside it as function.app
and so on.
"""

from pathlib import Path

__path__ = [str(Path(__file__).parent)]
