-- Let an entry expire after some seconds. The command EXPIRE without a script would do the same. But the drivers turn
-- every answer to EXPIRE into True or False, even if it is the late answer to another command.
-- KEYS[1] the entry   ARGV[1] seconds to live
-- Returns 1 if there is an entry, and 0 if there is no entry.
return redis.call('EXPIRE', KEYS[1], ARGV[1])
