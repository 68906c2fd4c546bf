-- Delete the expired claims of an owner and return the others.
-- KEYS[1] the owner's set
-- Returns "claims", the time, and then the key and expiry of each claim, soonest first: one text with spaces, times in
-- microseconds. The word tells this answer from the answers to other commands.
local time = redis.call('TIME')
local now = string.format('%.0f', tonumber(time[1]) * 1000000 + tonumber(time[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local found = redis.call('ZRANGE', KEYS[1], 0, -1, 'WITHSCORES')
if #found == 0 then
  return 'claims ' .. now
end
return 'claims ' .. now .. ' ' .. table.concat(found, ' ')
