"""Work that is the same in every run, done once: the migrations are read, and statements written as SQL.

A server does that when it starts, and in a run some start a dozen times. What follows from it is still done by the
shipped code: the store is migrated, with nothing to do, whenever it is opened.
"""

from typing import Any

from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, create_engine
from sqlalchemy.engine import Dialect

from sync_server import sql_store

_scripts: list[ScriptDirectory] = []
_dialects: list[Dialect] = []
_compiled: dict[Any, Any] = {}


def keep_for_all_runs() -> None:
    """To be called once in a process, before a store is opened."""
    read = ScriptDirectory.from_config

    def from_config(config: Config) -> ScriptDirectory:
        if not _scripts:
            _scripts.append(read(config))
        return _scripts[0]

    ScriptDirectory.from_config = from_config
    sql_store.create_engine = _with_one_memory


def _with_one_memory(url: Any, execution_options: dict[str, Any], **options: Any) -> Engine:
    """An engine with the dialect of the first one: SQL is remembered by dialect and statement."""
    engine = create_engine(url, execution_options=execution_options | {"compiled_cache": _compiled}, **options)
    _dialects.append(engine.dialect)
    engine.dialect = _dialects[0]
    return engine
