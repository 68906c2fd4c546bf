"""How gunicorn runs the site: ``gunicorn --config deploy/gunicorn.conf.py 'sched_site:create_app()'``."""

import os

bind = os.environ.get("SCHED_BIND", "0.0.0.0:8000")
#: Processes. Two for each core is a good beginning.
workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
#: Threads in each: 8 for pages, and one for each stream of notices that may be open (SCHED_NOTICE_STREAMS).
threads = 8 + int(os.environ.get("SCHED_NOTICE_STREAMS", "16"))
worker_class = "gthread"
#: Seconds that requests have to end in when the site is stopped. Streams of notices are cut.
graceful_timeout = 10
#: Workers show with a file that they live. It must not wait for a disk.
worker_tmp_dir = "/dev/shm"  # noqa: S108 - gunicorn makes a file there that has no name
accesslog = None  # the proxy has one
