"""What the server of processes loads once, so that no run has to; it starts no thread pool and touches no device."""

import sklearn.datasets  # noqa: F401
import transformers.models.gpt2.modeling_gpt2
import transformers.models.llama.modeling_llama  # noqa: F401

from hundredfold.replication.study import child  # noqa: F401
