-- Replace an entry, but only if it has the expected version. Never create an entry.
-- KEYS[1] the entry   ARGV[1] expected version   ARGV[2] new version and data   ARGV[3] seconds to live
-- Returns 1 if the script wrote, and 0 if there is no entry. Returns the stored entry if it has another version.
local version = redis.call('GETRANGE', KEYS[1], 0, 7)
if version == '' then
  return 0
end
if version == ARGV[1] then
  redis.call('SET', KEYS[1], ARGV[2], 'EX', ARGV[3])
  return 1
end
return redis.call('GET', KEYS[1])
