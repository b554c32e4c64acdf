"""What a model folder holds, however it is made: graphs, precisions, proof."""
