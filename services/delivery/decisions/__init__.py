"""The pure part: state machine, Graph's errors, bodies, limits, the schedule."""
