"""How often the book's claims hold: its notebooks under many seeds, on Dask.

    byhand-replicate --seeds 1-30        # every notebook under 30 seeds, can be resumed
    byhand-replicate --seeds 1-30 --summary      # what came out, into the book's record

notebooks.py finds and names what is run, run.py runs one notebook under one seed,
replicate.py sends the runs to Dask and keeps what comes back, summary.py counts.
"""
