"""faiss' indices for greatest inner products, over given vectors: HNSW (a graph) and IVF (cells)."""

import time
from collections.abc import Callable

import faiss
from scoring_turn import K, hand_back, take_work

CELLS, PROBES = 4096, (16, 64)
LINKS, BREADTHS = 32, (64, 256)


def main() -> None:
    """Build both, then time one query and a batch at two efforts each; the answer of a batch is handed back."""
    work = take_work()
    faiss.omp_set_num_threads(work.threads)
    n_items, dim = work.items.shape
    ways: dict[str, Callable[[], object]] = {}

    def offer(name: str, index: faiss.Index, effort: faiss.SearchParameters, build_s: float) -> None:
        told = f"{name}, built in {build_s:.0f} s"
        ways[f"{told}: batch"] = lambda: index.search(work.users, K, params=effort)[1]
        ways[f"{told}: one"] = lambda: index.search(work.users[:1], K, params=effort)[1]

    begun = time.perf_counter()
    cells = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, min(CELLS, n_items // 40), faiss.METRIC_INNER_PRODUCT)
    cells.train(work.items[:: max(1, n_items // 100_000)])
    cells.add(work.items)
    built_s = time.perf_counter() - begun
    for probes in PROBES:
        offer(f"IVF, {probes} of {cells.nlist} cells", cells, faiss.SearchParametersIVF(nprobe=probes), built_s)
    begun = time.perf_counter()
    graph = faiss.IndexHNSWFlat(dim, LINKS, faiss.METRIC_INNER_PRODUCT)
    graph.add(work.items)
    built_s = time.perf_counter() - begun
    for breadth in BREADTHS:
        offer(f"HNSW, breadth {breadth}", graph, faiss.SearchParametersHNSW(efSearch=breadth), built_s)
    hand_back(ways)


if __name__ == "__main__":
    main()
