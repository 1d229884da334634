"""What ties executions and trigger instances to a trace."""

__all__ = ["TraceContext"]


class TraceContext:
    """A trace's identifier, or its tag, or both."""

    def __init__(self, **kw):
        self.id_ = kw.get("id_")
        self.trace_tag = kw.get("trace_tag")

    def __eq__(self, other):
        return isinstance(other, TraceContext) and vars(self) == vars(other)

    def __hash__(self):
        return hash((self.id_, self.trace_tag))

    def __str__(self):
        return "{id_: %s, trace_tag: %s}" % (self.id_, self.trace_tag)
