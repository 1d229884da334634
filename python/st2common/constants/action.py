"""Names of execution states and of what surrounds an action's output."""

ACTION_NAME = "name"
ACTION_ID = "id"
ACTION_PACK = "pack"
LIBS_DIR = "lib"

LIVEACTION_STATUS_REQUESTED = "requested"
LIVEACTION_STATUS_SCHEDULED = "scheduled"
LIVEACTION_STATUS_DELAYED = "delayed"
LIVEACTION_STATUS_RUNNING = "running"
LIVEACTION_STATUS_SUCCEEDED = "succeeded"
LIVEACTION_STATUS_FAILED = "failed"
LIVEACTION_STATUS_TIMED_OUT = "timeout"
LIVEACTION_STATUS_ABANDONED = "abandoned"
LIVEACTION_STATUS_CANCELING = "canceling"
LIVEACTION_STATUS_CANCELED = "canceled"
LIVEACTION_STATUS_PENDING = "pending"
LIVEACTION_STATUS_PAUSING = "pausing"
LIVEACTION_STATUS_PAUSED = "paused"
LIVEACTION_STATUS_RESUMING = "resuming"

LIVEACTION_RUNNABLE_STATES = ["requested", "scheduled", "pausing", "paused", "resuming"]
LIVEACTION_DELAYED_STATES = ["delayed"]
LIVEACTION_CANCELABLE_STATES = [
    "requested", "scheduled", "delayed", "running", "pausing", "paused", "resuming",
]
LIVEACTION_COMPLETED_STATES = ["succeeded", "failed", "timeout", "canceled", "abandoned"]
LIVEACTION_FAILED_STATES = ["failed", "timeout", "abandoned"]
LIVEACTION_PAUSE_STATES = ["pausing", "paused"]
LIVEACTION_CANCEL_STATES = ["canceling", "canceled"]
LIVEACTION_STATUSES = [
    "requested", "scheduled", "delayed", "running", "succeeded", "failed", "timeout", "abandoned",
    "canceling", "canceled", "pending", "pausing", "paused", "resuming",
]
WORKFLOW_RUNNER_TYPES = ["action-chain", "orquesta"]

ACTION_OUTPUT_RESULT_DELIMITER = "%%%%%~=~=~=************=~=~=~%%%%"
ACTION_CONTEXT_KV_PREFIX = "action_context"
ACTION_PARAMETERS_KV_PREFIX = "action_parameters"
ACTION_RESULTS_KV_PREFIX = "action_results"
