-- What may be an owner's, after pruning what expired.
-- KEYS[1] the owner's set
-- Returns the time, and then key and expiry of each, soonest first: one text with spaces, times in microseconds.
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if #found == 0 then
  return now
end
return now .. ' ' .. table.concat(found, ' ')
