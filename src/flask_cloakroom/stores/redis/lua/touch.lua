-- Let an entry live for longer. The command alone would do the same, but the drivers turn every answer to EXPIRE into
-- True or False, so an answer that belongs to another command would pass for one.
-- KEYS[1] the entry   ARGV[1] seconds to live
-- Returns 1 if the entry is there, 0 if it is gone.
return redis.call('EXPIRE', KEYS[1], ARGV[1])
