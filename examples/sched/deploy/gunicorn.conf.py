"""The settings of gunicorn: ``gunicorn --config deploy/gunicorn.conf.py 'sched_site:create_app()'``."""

import os

bind = os.environ.get("SCHED_BIND", "0.0.0.0:8000")
#: The number of processes. Two for each core are a good start.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
#: Threads in each process: 8 for pages, and one for each open stream of notices (SCHED_NOTICE_STREAMS).
threads = 8 + int(os.environ.get("SCHED_NOTICE_STREAMS", "16"))
worker_class = "gthread"
#: Seconds for running requests when the site stops. Open streams of notices are closed after that.
graceful_timeout = 10
#: Workers report that they are alive by a file. On a disk a slow write could look like a dead worker.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes a file there that has no name
accesslog = None  # the proxy writes the access log
