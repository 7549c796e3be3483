"""Files over HTTP for weights and data alike: streamed, resumed after a cut or a kill, whole before use."""
