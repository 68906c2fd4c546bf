-- Set the time for which an entry lives. EXPIRE alone would do the same, but the drivers turn every answer to EXPIRE into
-- True or False, also the late answer to another command.
-- KEYS[1] the entry   ARGV[1] seconds to live
-- Returns 1 if there is an entry, 0 if not.
return redis.call('EXPIRE', KEYS[1], ARGV[1])
