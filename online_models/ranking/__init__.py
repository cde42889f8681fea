"""From the scores of all scorers to one order: fusion, context buckets, the reranker, the explanation."""
