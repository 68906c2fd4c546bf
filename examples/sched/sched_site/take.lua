-- Takes all lines of an order from the stock, or none of them. Each order is carried out once.
--
-- KEYS: 1. the stock, a hash of slug to number; 2. the record of this order, a list of the attempt and the quantities.
-- ARGV: 1. the channel for sold-out products; 2. seconds to keep the record; 3. the attempt, a random name of this call;
-- then for each product its slug, the quantity, and the stock of the catalogue, which holds before the first sale.
-- Returns a word, followed by slug, number, slug, number, and so on:
-- "taken" and the quantities, also if the same attempt comes again; "already" and the quantities that another attempt
-- has taken for this order; "missing" and the numbers left of the products that are missing.
local record = redis.call('LRANGE', KEYS[2], 0, -1)
if #record > 0 then
  record[1] = record[1] == ARGV[3] and 'taken' or 'already'
  return record
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
