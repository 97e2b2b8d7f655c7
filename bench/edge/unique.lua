-- For wrk: every request has a path of its own, below the path of the URL. The first argument
-- keeps the runs apart.
local number = 0
local run

function init(arguments)
   run = arguments[1]
end

function request()
   number = number + 1
   return wrk.format("GET", wrk.path .. "/" .. run .. "/" .. number)
end
