-- Compare and set: write only over the version that the caller has seen, and never create.
-- KEYS[1] the entry   ARGV[1] expected version   ARGV[2] new version and data   ARGV[3] seconds to live
-- Returns 1 saved, 0 gone, or the present entry.
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if version == '' then
  return 0
end
if version == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1
end
return redis.call('GET', KEYS[1])
