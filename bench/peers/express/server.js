// Peer: the seed document's design as written there, on Express 5 + node-postgres.
// PGHOST, PGUSER, PGDATABASE, PORT, WORKERS by environment; JWT_SECRET signs the tokens of the load generator.
const express=require('express'),{Pool}=require('pg'),jwt=require('jsonwebtoken'),helmet=require('helmet'),cors=require('cors');
const cluster=require('cluster');
const W=+(process.env.WORKERS||1);
if(W>1&&cluster.isPrimary){for(let i=0;i<W;i++)cluster.fork();return;}
const pino=require('pino')({level:process.env.LOG||'warn'});
const pool=new Pool({host:process.env.PGHOST,user:process.env.PGUSER||'postgres',database:process.env.PGDATABASE||'peer',max:20});
const app=express();const S=process.env.JWT_SECRET||'secret-secret-secret-secret-secret-0';
app.use(require('pino-http')({logger:pino,autoLogging:false}));app.use(cors());app.use(express.json());app.use(helmet());
const ok=(res,data,code=200)=>res.status(code).json({success:true,statusCode:code,message:'Success',data,timestamp:new Date().toISOString()});
const auth=(req,res,next)=>{try{req.user=jwt.verify((req.headers.authorization||'').slice(7),S);next()}catch(e){res.status(401).json({success:false,statusCode:401,message:'Unauthorized'})}};
const api=express.Router();app.use('/api/v1',api);
api.get('/health',(q,r)=>ok(r,{}));
api.get('/marketplace/listings',auth,async(q,r)=>{const {rows}=await pool.query({name:'l',text:"SELECT id,seller_id,latitude,longitude,energy_amount_kwh,price_per_kwh,status,available_from,available_to,created_at FROM energy_listings WHERE status='active' ORDER BY created_at DESC LIMIT 20 OFFSET $1",values:[20*((+q.query.page||1)-1)]});ok(r,rows)});
api.get('/location/nearby-listings',auth,async(q,r)=>{const la=+q.query.lat,lo=+q.query.lon,km=+q.query.radius_km,d=km/111;
 const {rows}=await pool.query({name:'n',text:`SELECT * FROM (SELECT l.id,l.seller_id,u.email,l.latitude,l.longitude,l.energy_amount_kwh,l.price_per_kwh,SQRT((latitude-$1)^2+(longitude-$2)^2)*111 AS distance_km FROM energy_listings l JOIN users u ON u.id=l.seller_id WHERE status='active' AND latitude BETWEEN $1-$3 AND $1+$3 AND longitude BETWEEN $2-$3 AND $2+$3) s WHERE distance_km<=$4 ORDER BY distance_km LIMIT 20`,values:[la,lo,d,km]});ok(r,rows)});
api.post('/marketplace/purchase',auth,async(q,r)=>{const {listing_id,energy_kwh}=q.body;const c=await pool.connect();try{
 await c.query('BEGIN');
 const {rows:[l]}=await c.query({name:'p1',text:"SELECT id,seller_id,energy_amount_kwh,price_per_kwh FROM energy_listings WHERE id=$1 AND status='active' FOR UPDATE",values:[listing_id]});
 if(!l) throw 404; if(+l.energy_amount_kwh<energy_kwh) throw 409; if(l.seller_id===q.user.id) throw 400;
 const total=Math.round(l.price_per_kwh*energy_kwh*100)/100,fee=Math.round(total*5)/100;
 const {rows:[w]}=await c.query({name:'p2',text:'SELECT balance FROM wallets WHERE user_id=$1 FOR UPDATE',values:[q.user.id]}); if(+w.balance<total) throw 409;
 const {rows:[t]}=await c.query({name:'p3',text:'INSERT INTO energy_transactions(listing_id,buyer_id,seller_id,energy_kwh,total_price,platform_fee) VALUES($1,$2,$3,$4,$5,$6) RETURNING *',values:[listing_id,q.user.id,l.seller_id,energy_kwh,total,fee]});
 const {rows:[u]}=await c.query({name:'p4',text:'UPDATE energy_listings SET energy_amount_kwh=energy_amount_kwh-$2 WHERE id=$1 RETURNING energy_amount_kwh',values:[listing_id,energy_kwh]});
 if(+u.energy_amount_kwh<=0) await c.query("UPDATE energy_listings SET status='sold' WHERE id=$1",[listing_id]);
 await c.query({name:'p5',text:'UPDATE wallets SET balance=balance-$2 WHERE user_id=$1',values:[q.user.id,total]});
 await c.query({name:'p6',text:'UPDATE wallets SET balance=balance+$2 WHERE user_id=$1',values:[l.seller_id,total-fee]});
 await c.query('COMMIT');ok(r,t,201);
 }catch(e){await c.query('ROLLBACK');r.status(typeof e==='number'?e:500).json({success:false,statusCode:e,message:String(e)})}finally{c.release()}});
app.listen(+(process.env.PORT||3900),'127.0.0.1');
