"""Who asks, and in which workspace. Whatever reads or writes what people made is bound to an `Access`."""

from __future__ import annotations

from pydantic import Field

from compression.spec.records import Record

LOCAL = "local"  # where nobody signs in: the owner of everything, and the workspace it is in


class Access(Record):
    """A person in a workspace: the person owns what is made, the workspace bounds what is seen.

    Neither has a default, so that nobody sees a workspace by leaving one out.
    """

    person: str = Field(min_length=1)
    workspace: str = Field(min_length=1)


LOCAL_ACCESS = Access(person=LOCAL, workspace=LOCAL)  # where nobody signs in, everybody is this one
