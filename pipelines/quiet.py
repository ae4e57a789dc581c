"""What libraries say on their own."""

from __future__ import annotations

import logging
import warnings


def quiet() -> None:
    """Keep libraries' chatter off the terminal; their warnings stay in `warnings`' hands."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", message=".*gradient_checkpointing.*", category=FutureWarning)
    # Of views that it returns and that nobody changes in place.
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module", category=UserWarning)
