-- Takes all that an order asks for out of the stock, or nothing of it, and each order once.
--
-- KEYS: the stock, a hash of slug to number; the mark of this order, a list of who had it carried out and what was taken.
-- ARGV: the channel that is told what is sold out; seconds to keep the mark; who asks; then for each product its slug,
-- how many are wanted, and how many there are as long as nobody has bought any.
-- Answers a word, and then slug, number, slug …: "taken" and what was taken, also when the same one asks again;
-- "already" and what another one took under this order; "missing" and how many there are of what is not enough.
local mark = redis.call('LRANGE', KEYS[2], 0, -1)
if #mark > 0 then
  mark[1] = mark[1] == ARGV[3] and 'taken' or 'already'
  return mark
end
local missing = {'missing'}
for i = 4, #ARGV, 3 do
  redis.call('HSETNX', KEYS[1], ARGV[i], ARGV[i + 2])
  local left = redis.call('HGET', KEYS[1], ARGV[i])
  if tonumber(left) < tonumber(ARGV[i + 1]) then
    missing[#missing + 1] = ARGV[i]
    missing[#missing + 1] = left
  end
end
if #missing > 1 then
  return missing
end
local taken = {'taken'}
redis.call('RPUSH', KEYS[2], ARGV[3])
for i = 4, #ARGV, 3 do
  if redis.call('HINCRBY', KEYS[1], ARGV[i], '-' .. ARGV[i + 1]) == 0 then
    redis.call('PUBLISH', ARGV[1], ARGV[i])
  end
  taken[#taken + 1] = ARGV[i]
  taken[#taken + 1] = ARGV[i + 1]
  redis.call('RPUSH', KEYS[2], ARGV[i], ARGV[i + 1])
end
redis.call('EXPIRE', KEYS[2], ARGV[2])
return taken
